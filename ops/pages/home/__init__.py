"""The start page of the console: what needs the operator now, and what is next.

`page` has the view. `attention` lists what needs the operator, `steps` draws the line of the
rollout, `next_step` prepares the step after the one in force, `state` and `latest` fill the side.
"""
