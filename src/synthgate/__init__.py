"""synthgate decides, with evidence, whether synthetic medical images may be trained on."""

import os

__version__ = "0.1.0"

# No dependency reports home, however synthgate is started; BentoML counts only the word "True".
for _switch, _value in {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "ITERATIVE_DO_NOT_TRACK": "1",
}.items():
    os.environ.setdefault(_switch, _value)
