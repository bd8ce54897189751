"""The search itself: what becomes of a plan, which plan is next, and how the few best are finished."""
