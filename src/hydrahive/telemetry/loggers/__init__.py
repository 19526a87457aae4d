"""Where people keep the stories of their runs besides the run's own folder."""
