"""The words and signs by which people and spreadsheets say yes, no, nothing, a month, or that a number is none."""


def _listed(text):
    """The entries of a text, parted by blanks; _ stands for a blank in one."""
    return {entry.replace("_", " ") for entry in text.split()}


YES = _listed("yes true ja oui sí si sì sim wahr vrai verdadero vero 是 ✓ ✔ ☑ ✅")
NO = _listed("no false nein nee nej nei non não falsch faux falso 否 ✗ ✘ ☒ ❌ ☐")
# what is written where there is nothing to write
NOTHING = _listed(
    r"""na n/a n.a. n.a n._a. n_/_a n/d n.d. n.d nd k.a. k.a k._a. s/d nan -nan null nil nul nat void undef undefined
    unknown missing empty blank unbekannt fehlt inconnu desconocido tbd tba todo nodata no_data not_available
    not_applicable not_known no_value keine_angabe (null)
    (blank) (empty) (na) <na> <null> \n #n/a #nv #n/d #nd #null #na"""
)
# may be missing, or say that the class has none
NONE = _listed("none keine keiner kein aucun aucune ninguno ninguna")
# single letters that are yes and no where a column holds both and nothing else
YES_AND_NO = ({"y", "n"}, {"j", "n"})
# signs that people put where something holds, and leave the cell empty, or cross it, where it does not
TIMES = "\N{MULTIPLICATION SIGN}"
MARKS = {"x", TIMES, "+", "*", "•", "1", "y", "j"}
UNSURE = ({"x", "o"}, {TIMES, "o"}, {"t", "f"}, {"x", TIMES}, {"1", "x"})
# numbers that stand for a missing value where no other number is below zero
CODES = {-99.0, -999.0, -9999.0, -99999.0, -999999.0}

MONTHS = _listed(
    """jan feb fev fév febr févr mar mär mrz mrt mars apr avr abr may mai maj mag mei jun juin giu jul juil lug aug août
    ago sep sept set oct okt ott out nov dec dez déc dic ene gen janv january february march april june july august
    september october november december januar februar märz juni juli oktober dezember"""
)
BETWEEN = _listed("to bis and und à a")
ROUGH = _listed("c ca circa about approx approximately around roughly nearly almost etwa rund env environ")
LIMITS = _listed(
    """
    over under up_to at_least at_most more_than less_than fewer_than max min mind mindestens höchstens über unter bis"""
)
# no units, though they follow numbers
AROUND_NUMBERS = _listed("to or and plus bis oder und ou ca approx about x times mal")

QUOTES = {
    '"': '"',
    "'": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}",
    "\N{DOUBLE LOW-9 QUOTATION MARK}": "\N{LEFT DOUBLE QUOTATION MARK}",
    "\N{LEFT SINGLE QUOTATION MARK}": "\N{RIGHT SINGLE QUOTATION MARK}",
    "\N{SINGLE LOW-9 QUOTATION MARK}": "\N{LEFT SINGLE QUOTATION MARK}",
    "«": "»",
}
# signs that mean the same wherever they stand in a number; full-width ones as East Asian keyboards give them
SAME = str.maketrans(
    {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}
    | dict.fromkeys("\u00a0\u2002\u2003\u2005\u2007\u2008\u2009\u202f\u3000", " ")
    | dict.fromkeys("\u2019\u02bc\u2032\u00b4`", "'")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63", "-")
    | dict.fromkeys("\u2044\u2215", "/")
    | dict.fromkeys("\u223c\u2243\u2248", "~")
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff")
)
