"""`/admin/ops/rollout/`: the rollout, the gates, and the form that changes it."""
