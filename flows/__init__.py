"""One file per flow; a flow reads like a table of contents."""
