"""What the cells of an experiment amount to: protocols, the table, and the files that hold both."""
