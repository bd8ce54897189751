"""Models where they live: written as files, run in their runtime, compared with torch, timed, and told by a card."""
