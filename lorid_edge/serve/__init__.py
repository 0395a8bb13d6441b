"""The solver for other programs: HTTP on this machine (`server`), or JSON-RPC lines (`stdio`).

Uses the runtime; the runtime knows nothing of it. Needs the extra `serve`, but for `stdio`.
"""
