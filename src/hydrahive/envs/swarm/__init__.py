"""A Pymunk world of lidar robots that drive to goals, as one vector over worlds and agents."""
