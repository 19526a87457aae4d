"""Commands that look at runs, show them, or ask something of a live one."""
