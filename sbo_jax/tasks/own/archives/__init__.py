"""The data sets of the UCR and UEA archives."""
