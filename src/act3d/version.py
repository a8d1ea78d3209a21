"""The version of act3d, for files that record what wrote them."""

VERSION = "0.1.0"
