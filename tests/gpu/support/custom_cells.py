"""Cells with other functions, clips, another direction, masks and layer normalisation: options of a GRU."""

CELLS = {
    "hard_sigmoid, relu, clip": {"gate_activation": ("hard_sigmoid", 0.2, 0.5), "activation": "relu", "clip": 1.5},
    "elu, state clip": {"activation": ("elu", 0.7), "state_clip": 0.4},
    "hard candidate": {"gate_activation": ("hard_sigmoid", 1 / 6, 0.4), "activation": ("hard_sigmoid", 0.8, 0.2)},
    "both clips": {"clip": 0.9, "state_clip": 0.3, "learned_h0": True},
    "elu, clip": {"activation": ("elu", 1.3), "clip": 0.8, "reverse": True, "learned_h0": True},
    "linear": {"activation": "linear", "state_clip": 1.0},
    "sigmoid": {"activation": "sigmoid", "clip": 2.0},
    "reverse": {"reverse": True, "learned_h0": True},
    "softsign": {"activation": "softsign", "learned_h0": True},
    "smooth elu": {"activation": "elu", "reverse": True},
    "zoneout": {"zoneout": 0.3},
    "zoneout, hard gates, clips": {
        **{"zoneout": 0.4, "gate_activation": ("hard_sigmoid", 0.2, 0.5), "clip": 0.9, "state_clip": 0.3},
        **{"reverse": True, "learned_h0": True},
    },
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "recurrent dropout, zoneout, clips": {
        **{"recurrent_dropout": 0.3, "zoneout": 0.2, "clip": 0.9, "state_clip": 0.3},
        **{"reverse": True, "learned_h0": True},
    },
}
NORMALISED = {
    "separate": {"layer_norm": "separate"},
    "sum": {"layer_norm": "sum"},
    "separate, masks": {"layer_norm": "separate", "recurrent_dropout": 0.3, "zoneout": 0.2, "reverse": True},
    "sum, masks, learned states": {"layer_norm": ("sum", 0.1), "recurrent_dropout": 0.3, "learned_h0": True},
    "separate, clips": {"layer_norm": ("separate", 0.1), "clip": 0.9, "state_clip": 0.3, "activation": "elu"},
}
"""Cells with layer normalisation, reset-after."""
SMOOTH = ("reverse", "softsign", "smooth elu", "zoneout", "recurrent dropout")
"""Without corners, where the derivative jumps: a rounded sum may lie on the other side of one."""
