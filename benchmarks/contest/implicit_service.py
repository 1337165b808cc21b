"""implicit behind FastAPI, as somebody would write it in an afternoon:  implicit_service.py RATINGS.npz PORT."""

import sys

import implicit
import numpy as np
import uvicorn
from fastapi import FastAPI
from scipy.sparse import csr_matrix

table = np.load(sys.argv[1])
rated = csr_matrix((table["values"], (table["users"], table["items"])))
model = implicit.als.AlternatingLeastSquares(factors=32, num_threads=1, random_state=0)
model.fit(rated, show_progress=False)
app = FastAPI()


@app.get("/health/ready")
def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.get("/v1/users/{user}/recommendations")
def recommend(user: int, n: int = 10) -> dict[str, list[dict[str, float]]]:
    items, scores = model.recommend(user - 1, rated[user - 1], N=n)
    return {"items": [{"item": item, "score": score} for item, score in zip(items.tolist(), scores.tolist())]}


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
