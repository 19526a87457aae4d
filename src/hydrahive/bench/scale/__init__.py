"""How far training scales: the real Trainer and books over workers that wait as long as real ones take."""
