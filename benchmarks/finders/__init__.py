"""How good is a suggested learning rate? Regret against a grid search, for ours and the field's."""
