"""Who disturbs without being a person: by rule, at random, or by what has paid off."""
