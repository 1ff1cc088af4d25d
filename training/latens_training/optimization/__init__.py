"""How the weights are moved: optimisers, schedules, averages, and the products behind them."""
