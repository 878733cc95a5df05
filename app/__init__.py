"""Use cases: what commands, page and chat ask for; all of it works on what `bootstrap` builds."""
