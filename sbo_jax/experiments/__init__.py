"""Many runs, each in a process of its own: what a TOML file asks for, and the table it ends in."""
