FRAMES = 5  # t - 3 … t + 1: what the models see of a transition from t to t + 1
