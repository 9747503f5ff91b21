"""What the operator's pages share: ledgers, badges, cells, and text with invisible characters."""
