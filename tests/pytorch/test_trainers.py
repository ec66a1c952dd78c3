"""Lightning and skorch train our modules as they do PyTorch's: the same numbers, checkpoints and copies."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]  # warnings of theirs

import rgru.torch  # noqa: E402

X = np.random.default_rng(0).normal(size=(60, 8, 3)).astype(np.float32)
Y = (X.sum((1, 2)) > 0).astype(np.int64)
PAIR = torch.nn.GRU, rgru.torch.GRU


class Classifier(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.gru, self.head = kind(3, 16, 2, batch_first=True), torch.nn.Linear(16, 2)

    def forward(self, x):
        return torch.softmax(self.head(self.gru(x)[0][:, -1]), dim=-1)


@pytest.mark.parametrize(("precision", "tolerance"), [("64-true", 1e-12), ("32-true", 1e-5)])
def test_lightning(tmp_path, precision, tolerance):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self, kind):
            super().__init__()
            torch.manual_seed(0)
            self.model = Classifier(kind)

        def training_step(self, batch, index):
            return -torch.log(self.model(batch[0]).gather(1, batch[1][:, None])).mean()

        def predict_step(self, batch, index):
            return self.model(batch[0])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)

    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=20)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trained, predictions = [Module(kind) for kind in PAIR], []
    for module in trained:
        trainer = lightning.Trainer(
            max_epochs=3,
            precision=precision,
            gradient_clip_val=0.1,
            accumulate_grad_batches=2,
            callbacks=[lightning.pytorch.callbacks.EMAWeightAveraging(decay=0.5)],
            default_root_dir=tmp_path,
            **quiet,
        )
        trainer.fit(module, loader)
        predictions.append(torch.cat(trainer.predict(module, loader)))
    torch.testing.assert_close(predictions[1], predictions[0], rtol=0, atol=tolerance)
    states = [module.state_dict() for module in trained]
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=tolerance)
    assert abs(states[1]["model.gru.weight_hh_l0"] - Module(PAIR[1]).model.gru.weight_hh_l0).max() > 1e-3
    trainer.save_checkpoint(tmp_path / "ours.ckpt")
    theirs = Module.load_from_checkpoint(tmp_path / "ours.ckpt", kind=torch.nn.GRU)
    torch.testing.assert_close(theirs.state_dict(), {name: one.float() for name, one in states[1].items()})


def test_skorch(tmp_path):
    skorch = pytest.importorskip("skorch")
    selection = pytest.importorskip("sklearn.model_selection")

    def net(kind):
        torch.manual_seed(0)
        callbacks = [skorch.callbacks.GradientNormClipping(0.1)]
        settings = {"max_epochs": 4, "lr": 0.01, "optimizer": torch.optim.Adam, "callbacks": callbacks, "verbose": 0}
        return skorch.NeuralNetClassifier(Classifier, module__kind=kind, **settings)

    theirs, ours = (net(kind).fit(X, Y) for kind in PAIR)
    expected = theirs.predict_proba(X)
    np.testing.assert_allclose(ours.predict_proba(X), expected, rtol=0, atol=1e-5)
    assert abs(expected - net(PAIR[1]).initialize().predict_proba(X)).max() > 1e-2
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        np.testing.assert_array_equal(again.predict_proba(X), ours.predict_proba(X))
    ours.save_params(f_params=tmp_path / "ours.pt")
    loaded = net(torch.nn.GRU).initialize()
    loaded.load_params(f_params=tmp_path / "ours.pt")
    np.testing.assert_allclose(loaded.predict_proba(X), ours.predict_proba(X), rtol=0, atol=1e-6)
    search = selection.GridSearchCV(ours, {"module__kind": PAIR}, cv=2, n_jobs=2, error_score="raise").fit(X, Y)
    assert search.best_score_ > 0.6
