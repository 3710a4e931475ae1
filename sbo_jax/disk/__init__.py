"""Files on this machine: paths as users give them, whole texts, and claims of folders."""
