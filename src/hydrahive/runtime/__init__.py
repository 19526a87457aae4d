"""The run itself: the plain objects that do its work, the thin Ray shells around them, and the Trainer."""
