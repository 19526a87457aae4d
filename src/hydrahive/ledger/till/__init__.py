"""What queries cost: prices set aside before an answer and taken after it, and how fast keys may ask."""
