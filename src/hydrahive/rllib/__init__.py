"""RLlib's algorithms on our environments: configs, checked; vectors, masks and worlds as it takes them; policies."""
