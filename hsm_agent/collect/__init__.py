"""Every kind of source: a room each. Importing the package itself imports none of them."""
