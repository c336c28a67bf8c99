"""The shipped cohort of `brain`: simulated patients on the averaged anatomy that nilearn carries in its package."""
