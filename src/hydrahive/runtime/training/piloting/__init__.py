"""A run's pilot at work: validations are asked for, decisions written down and carried out."""
