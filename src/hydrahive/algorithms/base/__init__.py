"""What every algorithm learns with; the pages beside this folder are the algorithms."""
