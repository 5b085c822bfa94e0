"""Which tests judge which module: those that are about it, so that one module takes minutes.

Of a module's functions, mutmut runs for each only those of these tests that call it, and stops at the first that fails.
A test that runs `inv` as a process of its own cannot judge: mutmut looks for its configuration where that is started.
"""

from __future__ import annotations

JUDGES: dict[str, tuple[str, ...]] = {
    "cloud/claims.py": ("test_claims.py", "test_resume.py"),
    "cloud/cleanup.py": ("test_leftovers.py", "test_bake.py"),
    "cloud/costs.py": ("test_costs.py",),
    "cloud/jobs.py": ("test_jobs.py", "test_costs.py", "test_leftovers.py", "test_resume.py"),
    "cloud/launch.py": ("test_launch.py", "test_refusals.py"),
    "cloud/leftovers.py": ("test_leftovers.py", "test_bake.py"),
    "cloud/policies.py": ("test_policies.py", "test_provision.py"),
    "cloud/quotas.py": ("test_quotas.py",),
    "cloud/records.py": ("test_records.py", "test_jobs.py"),
    "cloud/refusals.py": ("test_refusals.py",),
    "cloud/sweep.py": ("test_sweeps.py",),
    "cloud/sweeps.py": ("test_sweeps.py",),
}
"""Files below tests/, by module."""
