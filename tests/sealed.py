"""A test split that nobody may read."""


class Sealed:
    """In the place of a source: whoever looks at it fails."""

    def __len__(self):
        raise AssertionError("somebody counts the samples of the test split")

    def fetch(self, indices):
        raise AssertionError("somebody reads the test split")
