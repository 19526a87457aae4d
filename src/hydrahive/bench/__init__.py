"""Speed, measured where it is claimed: windows of real training, alternated with what it is compared against."""
