"""Raw collections -> packed datasets; one file a collection."""
