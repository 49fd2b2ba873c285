"""Child processes, which import nothing else of this package."""
