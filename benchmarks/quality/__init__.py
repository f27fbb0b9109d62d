"""How short schedules get: penstock's planner and dispatch beside the rules of the literature, on public instances."""
