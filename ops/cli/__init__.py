"""The command lines of the operator's commands: arguments, one call, and what is printed."""
