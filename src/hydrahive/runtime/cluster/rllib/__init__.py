"""Runs that RLlib trains: its Algorithm in an actor, env runners where our placement rules put them."""
