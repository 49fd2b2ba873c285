"""The source `kind: declared`: dates that somebody wrote down."""
