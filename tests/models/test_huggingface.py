"""``model=huggingface`` on a tiny BERT and a tiny RoBERTa with random weights, written here; nothing is downloaded."""

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.methods.test_saliency_guided import feedback, step_of
from xfeedback import data, models
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.hf_tokeniser import load
from xfeedback.data.text import SEPARATOR
from xfeedback.errors import UserError

SPECIAL = ["[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]"]
WORDS = ["a", "good", "bad", "film", "##s", "is", "un", "##kind", "."]


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="hf:/no/such/folder needs the package transformers: pip install transformers"):
        load("/no/such/folder")


def write_bert(folder: Path, positions: int = 20) -> None:
    """Write a tiny network with random weights and its tokeniser as Hugging Face's programs do."""
    transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=positions, **sizes)
    transformers.BertModel(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_bert(folder)
    return str(folder)


@pytest.fixture
def task(bert, tmp_path):
    rows = ["good films [SEP] a film\tpos\t[[0, 10]]", "unkind bad film .\tneg\t[[0, 6]]", "zzz film\tneg\t"]
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\trationale\n" + "\n".join(rows) + "\n")

    def load(**options):
        config = data.config_class("text_file")(
            train=str(path), val=str(path), test=str(path), tokeniser=f"hf:{bert}", **options
        )
        return data.load(config, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path)

    return load


def network(task, path, **options):
    config = models.config_class("huggingface")(path=path, **options)
    return models.build(config, task.in_shape, task.n_classes, 0, kind="text", vocabulary=task.vocabulary)


def test_tokens_are_the_tokenisers_and_rationales_fit_them(task):
    found = task()
    words = [[found.vocabulary[i] for i in row if i] for row in found.train.x.tolist()]
    assert words[0] == ["good", "film", "##s", "[SEP]", "a", "film"]
    assert words[1] == ["un", "##kind", "bad", "film", "."]
    assert words[2] == ["[UNK]", "film"]
    assert found.train.mask.sum(1).tolist() == [3, 2, 0]
    assert found.train.x[0, 3] == SEPARATOR
    assert len(found.vocabulary) == len(SPECIAL) + len(WORDS)


def test_it_equals_the_library_on_the_same_texts(task, bert):
    from transformers import AutoModel, AutoTokenizer

    found = task()
    net = network(found, bert).eval()
    tokeniser, encoder = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert).eval()
    batch = tokeniser([("unkind bad film ."), ("zzz film")], return_tensors="pt", padding=True)
    batch.pop("token_type_ids", None)
    states = encoder(**batch).last_hidden_state
    real = batch["attention_mask"][..., None]
    expected = net.head((states * real).sum(1) / real.sum(1))
    torch.testing.assert_close(net(found.train.x[1:]), expected, rtol=1e-5, atol=1e-6)


def test_ids_and_embeddings_padding_and_gradients(task, bert):
    found = task()
    net = network(found, bert).eval()
    x = found.train.x
    torch.testing.assert_close(net(x), net(net.embed(x)), rtol=0, atol=0)
    torch.testing.assert_close(net(x[2:, :2]), net(x)[2:], rtol=1e-5, atol=1e-6)
    assert net(torch.zeros_like(x)).isfinite().all()
    e = net.embed(x)
    (gradient,) = torch.autograd.grad(net(e)[:, 0].sum(), e, create_graph=True)
    assert (gradient[x == 0] == 0).all()
    gradient.square().sum().backward()
    assert net.embedding.weight.grad.abs().sum() > 0


def test_random_weights_follow_the_seed(task, bert):
    found = task()
    first, again = (network(found, bert, pretrained=False).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    loaded = network(found, bert).state_dict()
    assert any(not torch.equal(first[key], loaded[key]) for key in first)


def test_saliency_guided_training_masks_its_tokens(task, bert):
    found = task()
    batch = next(iter(found.train_loader(3, "cpu", 0)))
    step = step_of(network(found, bert), batch)
    method = feedback()
    counts = method.masked_positions(step).sum(1)
    tokens = ((batch.x != 0) & (batch.x != SEPARATOR)).sum(1)
    assert torch.equal(counts, (tokens // 2).clamp_min(1))
    view = method.view(step)
    assert view is not None
    assert step.network(view.x).isfinite().all()


@pytest.mark.parametrize(
    ("options", "model", "message"),
    [
        ({}, {"path": None}, "model=huggingface needs model.path=FOLDER and dataset.tokeniser=hf:FOLDER"),
        ({"tokeniser": "words", "min_count": 1}, {}, "needs texts cut by its own tokeniser: dataset.tokeniser=hf:"),
        ({}, {"path": "/no/such/folder"}, "no tokeniser in /no/such/folder"),
    ],
)
def test_what_does_not_fit_is_refused(bert, tmp_path, options, model, message):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\na good film\t1\na bad film\t0\n")
    chosen = {"tokeniser": f"hf:{bert}", **options}
    config = data.config_class("text_file")(train=str(path), val=str(path), test=str(path), **chosen)
    found = data.load(config, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        network(found, model.get("path", bert))
    assert "\n" not in str(caught.value)


def test_texts_too_long_for_the_encoder_are_refused(bert, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(f"text\tlabel\n{'film ' * 30}\t1\na bad film\t0\n")
    config = data.config_class("text_file")(train=str(path), val=str(path), test=str(path), tokeniser=f"hf:{bert}")
    found = data.load(config, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path)
    with pytest.raises(
        UserError, match=r"does not take texts of 30 tokens and 2 special ones: lower dataset.max_length"
    ):
        network(found, bert)


def test_more_ids_than_embeddings_are_refused(bert, tmp_path):
    import transformers

    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.BertModel(transformers.BertConfig(vocab_size=10, **sizes)).save_pretrained(tmp_path)
    config = models.config_class("huggingface")(path=str(tmp_path))
    vocabulary = load(str(tmp_path)).vocabulary
    with pytest.raises(UserError, match="has 10 embeddings, and its tokeniser has ids up to 13"):
        models.build(config, (5,), 2, 0, kind="text", vocabulary=vocabulary)


def test_roberta_with_its_own_numbers_of_special_tokens(tmp_path):
    """Padding is 1, the unknown token 3, and positions begin after the padding's number."""
    transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")
    from tokenizers import ByteLevelBPETokenizer

    texts = ["a good film", "a bad film, unkind", "film"]
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(texts * 3, vocab_size=280, min_frequency=1, special_tokens=special)
    folder = tmp_path / "roberta"
    inner = transformers.PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        sep_token="</s>",
        cls_token="<s>",
    )
    inner.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = transformers.RobertaConfig(vocab_size=len(inner), pad_token_id=1, max_position_embeddings=30, **sizes)
    encoder = transformers.RobertaModel(config).eval()
    encoder.save_pretrained(folder)
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{k % 2}\n" for k, text in enumerate(texts)))
    options = data.config_class("text_file")(train=str(path), val=str(path), test=str(path), tokeniser=f"hf:{folder}")
    task = data.load(options, DecoyConfig(name="none"), seed=0, root=tmp_path, cache=tmp_path)
    net = network(task, str(folder)).eval()
    for row, text in enumerate(texts):
        ids = [0, *inner(text, add_special_tokens=False)["input_ids"], 2]
        states = encoder(torch.tensor([ids])).last_hidden_state.mean(1)
        torch.testing.assert_close(net(task.train.x)[row], net.head(states)[0], rtol=1e-5, atol=1e-6)
