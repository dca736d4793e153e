"""Orders: quote, place, and every step until completion.

``records`` what an order is, ``machine`` what may happen to it, ``changes`` how a change is written,
``placing`` quote and placement, ``actions`` what people do, ``reading`` queries and snapshots.
"""
