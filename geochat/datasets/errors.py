"""What is wrong with data as a whole, where replacing single records does not help."""


class DataError(RuntimeError):
    """So much of the data cannot be used that training on the rest would mislead; the message names the file."""


class DataFileError(DataError, ValueError):
    """A data file is not what it should be; the message names the file and its records."""
