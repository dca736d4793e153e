"""Tables, constraints and migrations. ``TORTOISE`` is what the ORM and its migration tool are configured with."""
