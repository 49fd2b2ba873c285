"""The command line: a module for each verb."""

FAILED, BAD_CONFIGURATION = 1, 2
"""Exit codes of every verb but `check`, which has those of the plugin guidelines; click's usage errors are 2, too."""
