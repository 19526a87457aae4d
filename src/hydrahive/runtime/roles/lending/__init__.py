"""Acting lent to volunteers who are not believed: what travels, who lends, and how a machine is known."""
