"""Scores of captions: ROUGE, BLEU, METEOR and CIDEr, by rouge-score and pycocoevalcap."""

import contextlib
import functools
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geochat.evaluation.functional.text import words
from geochat.installation import InstallationError

References = Sequence[Sequence[str]]
"""N non-empty lists of true captions."""

_MARKS = re.compile(r'</?(?:p|ref|box|rbox|quad|poly|delim)>')

_EMPTY_BRACKETS = re.compile(r'[{(\[][\s,;]*[)\]}]')


def text_without_boxes(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a description without its boxes and phrase marks, its white space made single spaces.

    Args:
        text: The description.
        spans: Characters ``[start, end)`` of its boxes.
    """
    kept = list(text)
    for start, end in spans:
        kept[start:end] = [''] * (end - start)
    bare, brackets = _MARKS.sub(' ', ''.join(kept)), 1
    while brackets:  # those that enclosed nothing but boxes are left over, one in another
        bare, brackets = _EMPTY_BRACKETS.subn(' ', bare)
    return re.sub(r'\s+([.,;:!?])', r'\1', ' '.join(bare.split()))


def simple_tokens(captions: Sequence[str]) -> list[str]:
    """Return captions as tokens with one space between: words and numbers in lower case, without punctuation."""
    return [' '.join(words(caption)) for caption in captions]


def ptb_tokens(captions: Sequence[str]) -> list[str]:
    """Return captions as pycocoevalcap's tokens with one space between.

    They are those of Stanford's tokenizer for the Penn Treebank in lower case, less the punctuation that pycocoevalcap
    leaves out.

    Raises:
        InstallationError: If there is no Java, or pycocoevalcap is missing.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

    command = [_java(), '-cp', STANFORD_CORENLP_3_4_1_JAR, 'edu.stanford.nlp.process.PTBTokenizer']
    # pycocoevalcap's own class writes a file beside itself, where a user often may not write.
    done = subprocess.run(
        [*command, '-preserveLines', '-lowerCase'],
        cwd=_package_folder('tokenizer'),
        input=''.join(f'{" ".join(caption.split())}\n' for caption in captions),
        capture_output=True,
        encoding='utf-8',
        errors='replace',  # half a surrogate pair, which JSON can hold
    )
    lines = done.stdout.split('\n')[: len(captions)]
    if done.returncode or len(lines) < len(captions):
        raise InstallationError(f'the Java program of the PTB tokenizer failed: {_last_line(done.stderr)}')
    return [' '.join(token for token in line.split() if token not in PUNCTUATIONS) for line in lines]


def rouge(answers: Sequence[str], references: References, stemming: bool = False) -> dict[str, np.ndarray]:
    """Return ROUGE-1 and ROUGE-L of each answer by rouge-score: F-measure, the best of the references.

    Args:
        answers: N answers.
        references: Their true captions.
        stemming: True takes words by their stems (Porter), as EarthDial does.

    Returns:
        ``rouge1`` and ``rougeL``, float64 arrays (N,) between 0 and 1.
    """
    scorer = _rouge_scorer(stemming)
    scores = [scorer.score_multi(list(true), answer) for answer, true in zip(answers, references, strict=True)]
    return {name: np.array([score[name].fmeasure for score in scores]) for name in scorer.rouge_types}


def coco_rouge(answers: Sequence[str], references: References) -> np.ndarray:
    """Return pycocoevalcap's ROUGE-L of each answer, given in tokens: an F-measure that weighs recall 1.44 times.

    Precision and recall are each the best of the references, which need not be the same one.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = Rouge()
    pairs = zip(answers, references, strict=True)
    return np.array([scorer.calc_score([answer], list(true)) for answer, true in pairs], dtype=np.float64)


def bleu_counts(answers: Sequence[str], references: References) -> np.ndarray:
    """Return what each answer, given in tokens, adds to the sums that BLEU is made of, by pycocoevalcap.

    Returns:
        float64 array (N, 10): tokens of the answer and of the reference nearest in length; runs of 1 to 4 tokens in the
        answer; those of them that a reference has, each counted as often as there at most.
    """
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for answer, true in zip(answers, references, strict=True):
        scorer += (answer, list(true))
    rows = []
    for counts in scorer.ctest:
        size = counts['testlen']
        nearest = min(counts['reflen'], key=lambda length: (abs(length - size), length))
        rows.append([size, nearest, *counts['guess'], *counts['correct']])
    return np.array(rows, dtype=np.float64).reshape(-1, 10)


def bleu(sums: np.ndarray) -> np.ndarray:
    """Return BLEU-1 to BLEU-4 from sums of :func:`bleu_counts` over questions (Papineni et al. 2002), not smoothed.

    Args:
        sums: (..., 10).

    Returns:
        float64 array (..., 4); 0 where a share is 0.
    """
    size, nearest, guessed, correct = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    shares = np.divide(correct, guessed, out=np.zeros_like(guessed), where=guessed > 0)
    with np.errstate(divide='ignore'):
        means = np.cumsum(np.log(shares), axis=-1) / np.arange(1, 5)
        shortness = np.divide(nearest, size, out=np.full_like(size, np.inf), where=size > 0)
    return np.exp(means + np.minimum(0, 1 - shortness)[..., None])


def cider(answers: Sequence[str], references: References) -> np.ndarray:
    """Return CIDEr-D of each answer, given in tokens, by pycocoevalcap; 10 for the one reference itself.

    How much a run of words weighs follows from how many of the N questions have it in a reference, so that a single
    question scores 0.
    """
    from pycocoevalcap.cider.cider import Cider

    if not any(true.split() for group in references for true in group):
        return np.zeros(len(answers))
    _, scores = Cider().compute_score(*_by_number(answers, references))
    return np.asarray(scores, dtype=np.float64)


def meteor(answers: Sequence[str], references: References) -> tuple[np.ndarray, float]:
    """Return METEOR 1.5 of each answer, and of all together, by the Java program that pycocoevalcap brings.

    It takes stems, synonyms and paraphrases of English into account; reading its tables takes ten seconds or more.

    Args:
        answers: N answers in words; punctuation and capitals are METEOR's own business.
        references: Their true captions.

    Returns:
        float64 array (N,) between 0 and 1; and the score of all answers as one text, which is not the mean.

    Raises:
        InstallationError: If there is no Java, pycocoevalcap is missing, or the program fails.
    """
    command = [_java(), '-jar', '-Xmx2G', 'meteor-1.5.jar', '-', '-', '-stdio', '-l', 'en', '-norm']
    lines = [['SCORE', *map(_line, true), _line(answer)] for answer, true in zip(answers, references, strict=True)]
    pipe = subprocess.PIPE
    settings = {'stdin': pipe, 'stdout': pipe, 'stderr': subprocess.DEVNULL, 'encoding': 'utf-8', 'errors': 'replace'}
    with subprocess.Popen(command, cwd=_package_folder('meteor'), **settings) as program:
        try:
            statistics = [_ask(program, ' ||| '.join(line)) for line in lines]
            scores = [float(_ask(program, ' ||| '.join(['EVAL', *statistics])))]
            scores += [float(program.stdout.readline()) for _ in lines]
        except (OSError, ValueError) as error:
            raise InstallationError(
                "METEOR's Java program ended without a score: is a Java runtime there, and 2 GB of memory?"
            ) from error
        finally:
            with contextlib.suppress(OSError):  # the pipe of a program that has ended
                program.stdin.close()
            program.kill()
    return np.array(scores[:-1]), scores[-1]


def wordnet_meteor(answers: Sequence[str], references: References) -> np.ndarray:
    """Return METEOR of each answer as EarthDial computes it: NLTK's, on what stands between white space.

    It is another METEOR than the Java program's: no paraphrases, other weights, and punctuation stays with its word.

    Raises:
        InstallationError: If NLTK's WordNet is not there.
    """
    from nltk.corpus import wordnet
    from nltk.translate.meteor_score import meteor_score

    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise InstallationError("NLTK's WordNet is not there: python -m nltk.downloader wordnet") from error
    pairs = zip(answers, references, strict=True)
    return np.array(
        [meteor_score([text.split() for text in true], answer.split(), wordnet=wordnet) for answer, true in pairs]
    )


@functools.cache
def _rouge_scorer(stemming: bool):
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(['rouge1', 'rougeL'], use_stemmer=stemming)


def _by_number(answers: Sequence[str], references: References) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    true = {number: list(group) for number, group in enumerate(references)}
    return true, {number: [answer] for number, answer in enumerate(answers)}


def _java() -> str:
    java = shutil.which('java')
    if java is None:
        raise InstallationError(
            'needs Java, and there is no program java: install a Java runtime of version 8 or later'
        )
    return java


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec('pycocoevalcap')
    if spec is None:
        raise InstallationError('needs the package pycocoevalcap: pip install pycocoevalcap')
    return Path(spec.submodule_search_locations[0]) / name


def _line(text: str) -> str:
    """A caption as METEOR's program takes it: one line, without what parts captions."""
    return ' '.join(text.replace('|||', ' ').split())


def _ask(program: subprocess.Popen, line: str) -> str:
    program.stdin.write(f'{line}\n')
    program.stdin.flush()
    answer = program.stdout.readline().strip()
    if not answer:
        raise OSError('the program has ended')
    return answer


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else 'it said nothing'
