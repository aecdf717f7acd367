"""That no more may be fetched: light enough for whoever only has to recognise it."""


class ExcerptsSpent(Exception):
    """All bytes that may be fetched for excerpts have been."""
