.PHONY: check demo bench

check:  ## all that CI runs: install, lint, types, tests, kernels at every width and under sanitizers
	python3 scripts/check.py

demo:  ## the main job on the bundled data
	.venv/bin/cofactor demo

bench:  ## quick looks at every claim; COFACTOR_DATA names the folder with the public data sets
	for script in accuracy calibration drift peers neighbours ranking roofline reading startup scale serve; do .venv/bin/python benchmarks/$$script.py --quick || exit 1; done
