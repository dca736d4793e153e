"""Bringing orders to people.

``travel`` distances and ETAs, ``dispatch`` which rider is offered what (the seam for better dispatchers),
``tasks`` what riders do with deliveries, ``riders`` going online and reporting positions, ``reading`` queries.
"""

from services.delivery.reading import live_of_city, riders_of_city

__all__ = ["live_of_city", "riders_of_city"]
