"""The tasks that come with the library, one file a data set."""
