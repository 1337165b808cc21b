"""The parts of ``TasteDrift``: its items, its equations, the ratings in time, and the learning of its parameters."""
